"""Webhooks of Makini: received at once, kept in an inbox, worked off from there."""

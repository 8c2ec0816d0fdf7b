"""Where records land: each destination holds records and coverage, committed together."""

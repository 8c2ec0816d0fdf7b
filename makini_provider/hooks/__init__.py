"""Airflow connections made into clients: the only part that sees where a secret comes from."""

"""Airflow operators. Importing them loads no HTTP client and no storage: DAG files parse fast."""

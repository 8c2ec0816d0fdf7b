"""Triggers: what Airflow's triggerer waits for, without a worker."""

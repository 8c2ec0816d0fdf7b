"""Windows, drift-proof reading, coverage, and the runs made of them. Knows no Airflow and no storage."""

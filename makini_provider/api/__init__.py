"""The Makini API: resources, authentication, transport, paging and errors. Knows no Airflow."""

"""Apache Airflow provider for Makini, one API over hundreds of CMMS/EAM, ERP and WMS systems."""

__version__ = "0.1.0"

"""The native sink under fire: every kind of fault between it and a real BigQuery stand-in."""

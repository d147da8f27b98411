"""The contracts: what a message, an event, a row, a failure and a table are. Never imports Beam."""

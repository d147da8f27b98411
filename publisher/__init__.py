"""The service that puts manual issues and CloudEvents on the topic. Never imports Beam."""

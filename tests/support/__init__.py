"""What several tests share: servers, faults, hosts, models, and processes that start at once."""

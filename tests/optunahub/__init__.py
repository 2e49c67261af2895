"""What OptunaHub's registry takes of ours, packed by a script."""

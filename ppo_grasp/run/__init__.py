"""What keeps a long run safe: exact resumes, signals, health, locks and files that survive a crash."""

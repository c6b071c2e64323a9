"""What the tests of Isaac Gym's backend and of its double share."""

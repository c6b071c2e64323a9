"""How training worlds, and what the policy sees of them, differ from the ideal: as on a robot.

All of it is off by default, and then costs nothing.  The critic, the rewards and the success see the truth.
"""

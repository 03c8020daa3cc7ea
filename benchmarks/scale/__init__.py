"""The suite ``scale``: whole rounds beside what the planner says of them."""

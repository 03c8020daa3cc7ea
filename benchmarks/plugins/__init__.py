"""The suite ``plugins``: rounds under Flower and NVFlare, beside plain ones and Flower's SecAgg+."""

"""What tests would otherwise leave to chance: ``seeds`` of what is drawn, ``ports`` that stay theirs."""

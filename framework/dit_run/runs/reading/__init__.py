"""Reading of run folders by others than their owner: nothing here writes, locks or trusts a file."""

"""What the pools of greenlets have in common; a bundle adds the hub of its library."""

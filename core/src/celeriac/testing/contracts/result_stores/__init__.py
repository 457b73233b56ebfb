"""The parts of the result store suite, one module per part of the contract."""

"""The harnesses by which the contract suites test this distribution, on a server of their own."""

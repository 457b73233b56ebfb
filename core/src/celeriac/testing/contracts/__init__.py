"""The contract suites: classes of tests that every plugin of a kind must pass, third parties' included.

Each suite is one class. A plugin's own repository runs it by subclassing, with the plugin's harness module:

    from celeriac.testing.contracts.transport import TransportContract
    from celeriac_mine import testing

    class TestMyTransport(TransportContract):
        harness = testing

No test may be overridden or removed; a known failure is an `xfail` with its reason. A test skips itself only because
of what the plugin's capabilities say. The suites need pytest and Hypothesis.
"""

import os
import ssl
import threading

import pytest

from celeriac.client.app import Celeriac
from celeriac.client.broker_options import broker_options
from celeriac.errors import ConfigurationError, InvalidSetting, UnknownPlugin, UnknownSetting, Unsupported
from celeriac.kernel import plugins
from celeriac.model.routing import Exchange, Queue
from celeriac.spi.transport import Transport, TransportCapabilities

pytestmark = pytest.mark.plugins


def test_nothing_is_opened_before_it_is_needed(app):
    assert app.connections._open == {}

    app.connections.transport()

    assert list(app.connections._open) == ["transport"]


def test_all_threads_share_one_connection(app):
    barrier = threading.Barrier(8)
    found = []

    def ask():
        barrier.wait(5)
        found.append((app.connections.transport(), app.connections.results(), app.connections.coordinator()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)

    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_dropped_connection_is_replaced(app):
    first = app.connections.transport()

    app.connections.drop(first)

    assert app.connections.transport() is not first


def test_a_child_opens_its_own_and_leaves_the_parents_alone(tmp_path):
    with Celeriac("forks", broker=f"sqlite:///{tmp_path}/queue.db", set_as_current=False) as app:
        app.send_task("from.parent")
        parents = app.connections.transport()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                app.send_task("from.child")
                code = 2 if app.connections.transport() is parents else 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        app.send_task("from.parent.again")

        (depth,) = app.connections.transport().depths(timeout=5)

    assert os.waitstatus_to_exitcode(status) == 0
    assert depth.waiting == 3


def test_a_worker_gets_connections_of_its_own_holder(app):
    transport, results, coordinator = (
        app.connections.new_transport("worker-1"),
        app.connections.new_results(),
        app.connections.new_coordinator(),
    )

    assert transport.context.holder == "worker-1"
    assert transport is not app.connections.transport()
    assert results.address == coordinator.address == transport.address


def test_without_urls_the_embedded_broker_keeps_the_results_too():
    app = Celeriac("embedded", set_as_current=False)

    assert app.connections.broker_address.url == "sqlite:///.celeriac/celeriac.db"
    assert app.connections.results_address == app.connections.broker_address


def test_no_results_are_kept_for_another_broker_unless_a_store_is_named():
    bare = Celeriac("other", broker="redis://localhost", set_as_current=False)
    named = Celeriac("other", broker="redis://localhost", backend="file:///tmp/results", set_as_current=False)
    disabled = Celeriac("other", broker="memory://", backend="disabled://", set_as_current=False)

    assert bare.connections.results_address is None
    assert named.connections.results_address.scheme == "file"
    assert disabled.connections.results_address is None


def test_an_unknown_scheme_is_answered_with_the_nearest():
    app = Celeriac("wrong", broker="memry://", set_as_current=False)

    with pytest.raises(UnknownPlugin, match="memory"):
        app.connections.transport()


def test_a_coordinator_that_neither_system_has_is_refused():
    app = Celeriac("none", broker="amqp://localhost", set_as_current=False)

    with pytest.raises(Unsupported, match=r"These can: .*memory"):
        app.connections.new_coordinator()


def test_an_option_that_a_transport_does_not_know_is_refused():
    app = Celeriac("wrong", broker="memory://", broker_transport_options={"no_such": 1}, set_as_current=False)

    with pytest.raises(UnknownSetting, match="no_such"):
        app.connections.transport()


class Simple(Transport):
    """A transport that knows no exchanges."""

    capabilities = TransportCapabilities()

    def _open(self, timeout): ...
    def _close(self): ...
    def _publish(self, messages, timeout): ...
    def _receive(self, queues, limit, timeout):
        return []

    def _settle(self, verdicts, timeout):
        return []

    def _wake(self): ...


def test_a_queue_that_a_transport_cannot_have_is_refused_and_those_that_can_are_named(monkeypatch):
    load = plugins.load
    monkeypatch.setattr(plugins, "load", lambda kind, name: Simple if kind == "transport" else load(kind, name))
    queues = [Queue("logs", Exchange("log", "topic"))]
    app = Celeriac("simple", broker="memory://", task_queues=queues, set_as_current=False)

    with pytest.raises(Unsupported, match=r"queue 'logs' on a topic exchange.*These can: .*memory"):
        app.send_task("x", queue="logs")


def test_plugins_that_the_settings_choose_are_known(app):
    assert {("transport", "memory"), ("results", "memory"), ("serializer", "json")} <= set(
        app.connections.chosen_plugins()
    )


KNOWN = {"heartbeat", "login_method", "failover_strategy", "native_delayed_delivery_queue_type"}
KNOWN |= {"ssl", "ssl_ca_certs", "ssl_cert_reqs"}


def options_of(**settings):
    app = Celeriac("set", broker="memory://", set_as_current=False, **settings)
    return broker_options(app.conf, KNOWN, "heard")


def test_settings_of_the_broker_are_options_of_the_transport_that_knows_them():
    settings = {"broker_heartbeat": 30, "broker_login_method": "EXTERNAL", "broker_failover_strategy": "shuffle"}

    assert options_of(**settings, broker_native_delayed_delivery_queue_type="classic") == {
        "heartbeat": 30.0,
        "login_method": "EXTERNAL",
        "failover_strategy": "shuffle",
        "native_delayed_delivery_queue_type": "classic",
    }
    assert options_of(broker_heartbeat=30, broker_transport_options={"heartbeat": 5.0}) == {"heartbeat": 5.0}
    assert options_of() == {}


@pytest.mark.parametrize("required", [ssl.CERT_OPTIONAL, 1, "CERT_OPTIONAL", "optional"])
def test_tls_is_told_in_celerys_names(required):
    for names in ({"ca_certs": "ca.pem", "cert_reqs": required}, {"ssl_ca_certs": "ca.pem", "ssl_cert_reqs": required}):
        assert options_of(broker_use_ssl=names) == {"ssl": True, "ssl_ca_certs": "ca.pem", "ssl_cert_reqs": "optional"}
    assert options_of(broker_use_ssl=True) == {"ssl": True}
    assert options_of(broker_use_ssl=False) == {}


def test_an_option_of_tls_that_is_not_known_is_refused():
    with pytest.raises(InvalidSetting, match=r"ca_certs.*ciphers"):
        options_of(broker_use_ssl={"ciphers": "all"})


@pytest.mark.parametrize("settings", [{"broker_heartbeat": 30}, {"broker_use_ssl": True}])
def test_a_setting_for_an_option_that_the_transport_has_not_is_refused(settings):
    app = Celeriac("set", broker="memory://", set_as_current=False, **settings)

    with pytest.raises(ConfigurationError, match="memory transport has no option"):
        app.connections.transport()


def test_a_url_without_a_scheme_is_refused():
    with pytest.raises(ConfigurationError, match="scheme"):
        Celeriac("wrong", broker="localhost", set_as_current=False).connections.transport()

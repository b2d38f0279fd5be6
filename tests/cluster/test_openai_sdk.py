"""The official OpenAI client works unchanged through the DNS name."""

from cluster import MODEL
from sdk import run_client


def test_every_call_of_the_official_client(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=2)
    cluster.start_dns()
    result = run_client(cluster, "tour")
    assert len(result["chat"].split()) == 6
    assert result["chat_completion_tokens"] == 6
    assert len("".join(result["stream_pieces"]).split()) == 6
    assert len(result["stream_pieces"]) > 1, "the stream came in one piece"
    assert result["stream_completion_tokens"] == 6
    assert len(result["completion"].split()) == 5
    assert result["embedding_length"] > 0
    assert result["models"] == [MODEL]
    assert result["error"]["status"] == 404
    assert result["error"]["code"] == "model_not_found"
    assert "no-such-model" in result["error"]["message"]


def test_connections_spread_over_the_nodes(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=2)
    cluster.start_dns()
    result = run_client(cluster, "spread", "60")
    print(f"requests per node: {result['nodes']}")
    assert result["errors"] == []
    assert set(result["nodes"]) == {"r1", "r2", "r3"}
    assert min(result["nodes"].values()) >= 10
    cluster.wait_idle()

"""quickstart: what a node does."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from quickstart.task import Net, load_data
from quickstart.task import test as test_net
from quickstart.task import train as train_net
from secure_agg.plugins.flower import secure_mod

app = ClientApp()


@app.train(mods=[secure_mod])
def train(msg: Message, context: Context) -> Message:
    """Train the model on this node's data."""
    net = Net()
    net.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    data, _ = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    loss = train_net(net, data, context.run_config["local-epochs"], context.run_config["learning-rate"])
    metrics = {"train_loss": loss, "num-examples": len(data.dataset)}
    content = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord(metrics)})
    return Message(content=content, reply_to=msg)


@app.evaluate(mods=[secure_mod])
def evaluate(msg: Message, context: Context) -> Message:
    """Test the model on this node's data."""
    net = Net()
    net.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    _, data = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    loss, accuracy = test_net(net, data)
    metrics = {"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(data.dataset)}
    content = RecordDict({"metrics": MetricRecord(metrics)})
    return Message(content=content, reply_to=msg)

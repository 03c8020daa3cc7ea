"""What a node does."""

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from linear import task
from secure_agg.plugins.flower import secure_mod

app = ClientApp()


@app.train(mods=[secure_mod])
def train(message: Message, context: Context) -> Message:
    """One step on this node's data."""
    model = {name: array.numpy() for name, array in message.content["arrays"].items()}
    trained, metrics = task.train(model, context.node_config["partition-id"])
    arrays = ArrayRecord({name: Array(array) for name, array in trained.items()})
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics)}), reply_to=message)


@app.evaluate(mods=[secure_mod])
def evaluate(message: Message, context: Context) -> Message:
    """How far the model is from this node's data."""
    model = {name: array.numpy() for name, array in message.content["arrays"].items()}
    metrics = task.evaluate(model, context.node_config["partition-id"])
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)

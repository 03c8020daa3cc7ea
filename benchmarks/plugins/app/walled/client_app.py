"""What a node does: nothing, for as long as training would take."""

import time

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp


def train(message: Message, context: Context) -> Message:
    """One step, after a while."""
    time.sleep(float(context.run_config["train-s"]))
    model = message.content.array_records["arrays"]["values"].numpy()
    step = np.float32(0.01 * (1 + int(context.node_config["partition-id"])))
    arrays = ArrayRecord({"values": Array(model + step)})
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 10})}), reply_to=message)


def either(message: Message, context: Context) -> Message:
    """As it is where this node has no home, else in secure rounds."""
    if "secure-agg-home" not in context.node_config:
        return train(message, context)
    from secure_agg.plugins.flower import secure_mod

    return secure_mod(message, context, train)


app = ClientApp()
app.train()(either)

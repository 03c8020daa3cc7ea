"""What a node does: it answers from the table that its operator has named."""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from secure_agg.plugins.flower import answer_question, secure_mod

app = ClientApp()


@app.train(mods=[secure_mod])
def train(message: Message, context: Context) -> Message:
    """An answer, which goes no further than to the mod."""
    return answer_question(message, context)

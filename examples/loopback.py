"""llama.cpp's HTTP server with a shipped model on loopback, for examples that need an endpoint."""

from pathlib import Path

import trim
from trim.engines.llama_cpp import load_library

MODELS = Path(trim.__file__).parent / "shipped" / "models"
PLAIN = (
    "{% for message in messages %}{{ message.content }}"
    "{% if message.role == 'user' %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
)
"""The chat template of a model that reads plain text: the question, a blank line, the steps."""
servers = []


def start_server(name: str) -> str:
    """Serve `weak` or `strong`; the address of the server, which ends with this process."""
    xllamacpp = load_library()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(MODELS / f"{name}.gguf")
    parameters.n_parallel = 1
    parameters.n_ctx = 1024
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.n_gpu_layers = 0
    parameters.verbosity = -1
    parameters.port = 0
    parameters.use_jinja = True
    parameters.chat_template = PLAIN
    server = xllamacpp.Server(parameters)
    server.handle_completions({"prompt": "1", "n_predict": 1})  # wait until it answers
    servers.append(server)
    return str(server.listening_address)

"""llama.cpp's HTTP server with a shipped model, in this process."""

from dataclasses import dataclass
from pathlib import Path

from trim.engines.llama_cpp import load_library
from trim.shipped import FOLDER

PLAIN_CHAT = "{% for message in messages %}{{ message.content }}{% if message.role == 'user' %}{{ '\\n\\n' }}{% endif %}{% endfor %}"  # noqa: E501
"""A chat template with which the shipped models read a chat as they read plain text."""


@dataclass
class LlamaServer:
    url: str
    server: object


def start(model: str, slots: int = 4, template: str | None = None) -> LlamaServer:
    xllamacpp = load_library()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(Path(FOLDER) / f"{model}.gguf")
    parameters.n_parallel = slots
    parameters.n_ctx = 1024 * slots
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.n_gpu_layers = 0
    # As in `LlamaCppEngine`: models with heads this small are faster without.
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.warmup = False
    parameters.verbosity = -1
    parameters.port = 0
    parameters.endpoint_metrics = True
    parameters.cache_ram_mib = 64
    if template:
        parameters.use_jinja = True
        parameters.chat_template = template
    server = xllamacpp.Server(parameters)
    # A server that is freed before its first answer would wait for itself forever.
    server.handle_completions({"prompt": "1", "n_predict": 1})
    return LlamaServer(server.listening_address, server)

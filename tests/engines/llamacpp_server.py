"""The real llama.cpp server from the package xllamacpp, as a process: GGUF file, port, mode."""

import sys
import threading

import xllamacpp


def main(model: str, port: str, mode: str = "generate") -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.model_alias = {"smol"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(port)
    parameters.n_ctx = 2048
    parameters.n_parallel = 2
    if mode == "embed":
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # Its threads spin while they wait for each other: on a busy machine one is faster than two.
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

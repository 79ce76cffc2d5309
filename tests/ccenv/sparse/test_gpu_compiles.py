"""Every Triton kernel compiles to machine code for NVIDIA's cards, which needs no card."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from ccenv.annexes.sparse_gpu import dense, gradients, products
from ccenv.annexes.sparse_gpu.lists import list_items
from ccenv.runs.lab.benchmarks import gpu_registers

# What a program may use of shared memory on every card from compute capability 8.0 on.
SHARED_BYTES = 99 * 1024
MOST_REGISTERS = 255


def assert_fits(compiler):
    assert {key[0] for key in compiler.seen} >= {"list_items", "multiply_pairs"}
    for key, compiled in compiler.seen.items():
        assert compiled.asm["cubin"], key
        assert compiled.metadata.shared <= SHARED_BYTES, (key, compiled.metadata.shared)


# A card of 2020 and one of 2022: Ampere and Hopper multiply by different instructions.
@pytest.fixture(params=[pytest.param(80, marks=pytest.mark.slow), 90])
def compiler(request, monkeypatch, tmp_path):
    if not hasattr(list_items, "params"):
        pytest.skip("this process interprets kernels")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    made = gpu_registers.Compiler(request.param)
    with made.in_place():
        yield made


def test_the_kernels_of_the_usual_layers_compile(compiler):
    gpu_registers.start_layer(8192, 64, torch.bfloat16)
    gpu_registers.start_layer(8, 64, torch.bfloat16)
    gpu_registers.start_layer(256, 64, torch.bfloat16, is_dense=True)
    names = {key[0] for key in compiler.seen}
    assert names >= {"list_needed", "list_pairs", "multiply_vectors", "finish_dense"}
    assert_fits(compiler)
    for key, compiled in compiler.seen.items():
        registers, spilled = gpu_registers.resources(compiled)
        assert 0 < registers <= MOST_REGISTERS
        assert spilled == 0, key
    main = [made.asm["ptx"] for key, made in compiler.seen.items() if key[0] == "multiply_tiles"]
    assert main
    for ptx in main:
        # Hopper's own tensor instruction, and operands that are copied while it runs.
        assert ("wgmma.mma_async" in ptx) == (compiler.architecture == 90)
        assert "cp.async.cg.shared.global" in ptx


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("block_size", gpu_registers.ALL_SIZES)
def test_every_kernel_compiles_for_every_block_size_and_dtype(compiler, dtype, block_size):
    gpu_registers.start_all(block_size, dtype)
    assert_fits(compiler)


@pytest.mark.slow
def test_every_kernel_compiles_for_tf32(compiler, monkeypatch):
    for module in (products, gradients, dense):
        monkeypatch.setattr(module, "product_precision", lambda dtype: "tf32")
    for block_size in (16, 64, 128):
        gpu_registers.start_layer(8192, block_size, torch.float32)
        gpu_registers.start_layer(256, block_size, torch.float32, is_dense=True)
    assert_fits(compiler)

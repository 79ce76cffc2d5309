"""Every Triton kernel compiles to machine code for NVIDIA's cards, which needs no card."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from ccenv.sparse.gpu import dense, gradients, lists, products
from ccenv.sparse.gpu.dispatch import masked_dense_linear, triton_linear
from ccenv.sparse.gpu.kernels.lists import list_items

# What a program may use of shared memory on every card from compute capability 8.0 on.
SHARED_BYTES = 99 * 1024
NAMES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.uint8: "*u8",
    torch.bool: "*i1",
}


class Compiler:
    """Takes the place of the launcher: compiles what would be started, once."""

    def __init__(self, architecture):
        self.architecture = architecture
        self.seen = {}

    def __call__(self, kernel, programs, *args, warps=4, stages=1, **constants):
        assert programs > 0
        values = dict(zip(kernel.arg_names, args, strict=False)) | constants
        assert list(values) == kernel.arg_names
        fixed = {p.name for p in kernel.params if p.do_not_specialize}
        kinds = {
            name: kind(value, name in constants, name in fixed) for name, value in values.items()
        }
        key = (kernel.fn.__name__, str(kinds), str(constants), warps, stages)
        if key not in self.seen:
            self.seen[key] = self.compile(kernel, values, kinds, fixed, warps, stages)

    def compile(self, kernel, values, kinds, fixed, warps, stages):
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        constants = {name: values[name] for name, kind in kinds.items() if kind == "constexpr"}
        aligned = {
            (place,): [["tt.divisibility", 16]]
            for place, (name, value) in enumerate(values.items())
            if kinds[name] != "constexpr" and name not in fixed and is_aligned(value)
        }
        return triton.compile(
            ASTSource(kernel, kinds, constants, aligned),
            target=GPUTarget("cuda", self.architecture, 32),
            options={"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True},
        )

    def assert_fits(self):
        assert {key[0] for key in self.seen} >= {"list_items", "multiply_pairs"}
        for key, compiled in self.seen.items():
            assert compiled.asm["cubin"], key
            assert compiled.metadata.shared <= SHARED_BYTES, (key, compiled.metadata.shared)


def kind(value, is_constant, is_fixed):
    """The type that Triton gives an argument: as its own launcher does it."""
    if is_constant or value is None or (not is_fixed and isinstance(value, int) and value == 1):
        return "constexpr"
    return NAMES[value.dtype] if isinstance(value, torch.Tensor) else "i32"


def is_aligned(value):
    return (value.data_ptr() if isinstance(value, torch.Tensor) else value) % 16 == 0


# A card of 2020 and one of 2022: Ampere and Hopper multiply by different instructions.
@pytest.fixture(params=[pytest.param(80, marks=pytest.mark.slow), 90])
def compiler(request, monkeypatch, tmp_path):
    if not hasattr(list_items, "params"):
        pytest.skip("this process interprets kernels")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    made = Compiler(request.param)
    for module in (lists, products, gradients, dense):
        monkeypatch.setattr(module, "launch", made)
    return made


def start_all(
    batch, block_size, dtype, has_in_mask=True, has_out_mask=True, in_major=True, is_dense=False
):
    """One layer forward and backward; the results are whatever was in memory."""
    blocks = max(2, 512 // block_size // 16 * 16)
    width = blocks * block_size
    mask = torch.ones(batch, blocks, dtype=torch.bool)
    weight = torch.zeros(width, width, dtype=dtype)
    weight = weight if in_major else weight.t()
    leaves = [torch.zeros(batch, width, dtype=dtype), weight, torch.zeros(width, dtype=dtype)]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    masks = mask if has_in_mask else None, mask if has_out_mask else None
    y = (masked_dense_linear if is_dense else triton_linear)(*leaves, *masks, "tanh")
    y.backward(torch.zeros_like(y))


def test_the_kernels_of_the_usual_layers_compile(compiler):
    start_all(8192, 64, torch.bfloat16)
    start_all(8, 64, torch.bfloat16)
    start_all(256, 64, torch.bfloat16, is_dense=True)
    names = {key[0] for key in compiler.seen}
    assert names >= {"list_needed", "list_pairs", "multiply_vectors", "finish_dense"}
    compiler.assert_fits()
    main = [made.asm["ptx"] for key, made in compiler.seen.items() if key[0] == "multiply_tiles"]
    assert main
    for ptx in main:
        # Hopper's own tensor instruction, and operands that are copied while it runs.
        assert ("wgmma.mma_async" in ptx) == (compiler.architecture == 90)
        assert "cp.async.cg.shared.global" in ptx


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("block_size", [4, 5, 8, 12, 16, 24, 32, 48, 64, 100, 128])
def test_every_kernel_compiles_for_every_block_size_and_dtype(compiler, dtype, block_size):
    for batch in (8, 33, 8192):
        start_all(batch, block_size, dtype)
    start_all(256, block_size, dtype, has_in_mask=False, in_major=False)
    start_all(1024, block_size, dtype, has_out_mask=False, in_major=False)
    start_all(256, block_size, dtype, in_major=False, is_dense=True)
    start_all(256, block_size, dtype, has_in_mask=False, is_dense=True)
    start_all(256, block_size, dtype, has_out_mask=False, is_dense=True)
    compiler.assert_fits()


@pytest.mark.slow
def test_every_kernel_compiles_for_tf32(compiler, monkeypatch):
    for module in (products, gradients, dense):
        monkeypatch.setattr(module, "product_precision", lambda dtype: "tf32")
    for block_size in (16, 64, 128):
        start_all(8192, block_size, torch.float32)
        start_all(256, block_size, torch.float32, is_dense=True)
    compiler.assert_fits()

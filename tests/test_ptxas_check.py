"""The check of the CUDA kernels' registers: that it reads ptxas rightly, and that a kernel that spills fails it."""

import os
import shutil

import pytest
from ptxas_check import ROOT, Usage, allowances, main, parse, problems, short

REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN9physioclr4cuda9ok_kernelEPf' for 'sm_75'
ptxas info    : Function properties for _ZN9physioclr4cuda9ok_kernelEPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 52 registers, used 1 barriers, 2432 bytes smem, 432 bytes cmem[0]
ptxas info    : Compiling entry function '_Z10bad_kernelIfEvPT_' for 'sm_90'
ptxas info    : Function properties for _Z10bad_kernelIfEvPT_
    40 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers
"""
OK, BAD = parse(REPORT)


def test_reads_the_report():
    assert OK == Usage("_ZN9physioclr4cuda9ok_kernelEPf", "sm_75", 0, 0, 52, 2432)
    assert BAD == Usage("_Z10bad_kernelIfEvPT_", "sm_90", 40, 20, 255, 0)
    assert [short(u.kernel) for u in (OK, BAD)] == ["ok_kernel", "bad_kernel"]


def test_says_what_is_wrong():
    assert problems([OK], {}) == []
    assert len(problems([OK, BAD], {})) == 2  # it spills, and it has a stack frame
    assert problems([BAD], {"bad_kernel": 40}) == ["bad_kernel (sm_90) spills 20 bytes of registers"]
    assert problems([BAD._replace(spilled=0)], {"bad_kernel": 40}) == []
    assert problems([OK], {"ok_kernel": 8}) == ["ok_kernel is allowed a stack frame that it does not have"]
    assert problems([], {}) == ["ptxas reported no kernel at all"]


def test_allowances_have_a_reason(tmp_path):
    (tmp_path / "a.cuh").write_text("// ptxas-allow slow_kernel: 16 bytes of stack, because it sorts few values\n")
    (tmp_path / "b.cuh").write_text("// ptxas-allow lazy_kernel: 16 bytes of stack\n")
    assert allowances(tmp_path) == {"slow_kernel": 16}


SPILLS = """\
__global__ void __launch_bounds__(1024) wide_kernel(const float* x, float* y, int n) {
  float a[80];
#pragma unroll
  for (int k = 0; k < 80; ++k) a[k] = x[k * n + threadIdx.x];
  for (int i = 0; i < n; ++i)
#pragma unroll
    for (int k = 0; k < 80; ++k) a[k] += a[(k + 1) % 80] * x[i];
#pragma unroll
  for (int k = 0; k < 80; ++k) y[k * n + threadIdx.x] = a[k];
}
"""
FRAME = """\
__global__ void indexed_kernel(const int* x, int* y) {
  int a[64];
  for (int k = 0; k < 64; ++k) a[x[k] & 63] = k;
  y[threadIdx.x] = a[x[threadIdx.x] & 63];
}
"""


@pytest.mark.skipif(shutil.which(os.environ.get("CUDACXX", "nvcc")) is None, reason="no nvcc")
@pytest.mark.parametrize("source, message", [(SPILLS, "wide_kernel (sm_90) spills"), (FRAME, "has a stack frame of")])
def test_a_kernel_that_spills_fails(tmp_path, capsys, source, message):
    (tmp_path / "kernel.cu").write_text(source)
    assert main(["--source", str(tmp_path / "kernel.cu"), "--arch", "90"]) == 1
    assert message in capsys.readouterr().out
    (tmp_path / "kernel.cu").write_text("__global__ void fine_kernel(float* y) { y[threadIdx.x] = 1; }\n")
    assert main(["--source", str(tmp_path / "kernel.cu"), "--arch", "90"]) == 0


def test_the_allowances_of_the_library_can_be_read():
    text = "".join(f.read_text() for f in (ROOT / "csrc" / "cuda").glob("*.cu*"))
    assert text.count("ptxas-allow") == len(allowances(ROOT / "csrc" / "cuda"))

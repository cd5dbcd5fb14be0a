"""One weighted mean under CKKS with TenSEAL: nodes encrypt, the server adds ciphertexts, the key holder decrypts once.

    python -m benchmarks.rivals.tenseal_ckks --inputs FILE.npz --json FILE [--moduli 60 40 40]

Degree 8192 (4096 slots a ciphertext) and scale 2^40, as NVIDIA FLARE's provisioning (`HEBuilder`) writes them; so are
the moduli of 60, 40 and 40 bits. Moduli of 60 and 60 bits are the fewest that carry sums at this scale. At this degree
128-bit security allows moduli of 218 bits together. A node scales its update by images / most images and appends that
weight. One thread. Making the keys is left out, since they serve for many rounds; the sum is opened once, though in
FLARE every node holds the secret key and opens it. Whoever holds it can open every single ciphertext, not only the sum.
"""

import time

import numpy as np
import tenseal as ts

from benchmarks.rivals.measuring import SERVER, Answer, Inputs, Stopwatch, arguments, largest_error, read, write

DEGREE = 8192
FLARE_MODULI = [60, 40, 40]
SCALE_BITS = 40
HOLDER = "key holder"


def aggregate(inputs: Inputs, moduli: list[int]) -> Answer:
    """Run one aggregation of all nodes in this process and time its parties."""
    holder = ts.context(ts.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=moduli, n_threads=1)
    holder.global_scale = 2**SCALE_BITS
    public = ts.context_from(holder.serialize(save_secret_key=False), n_threads=1)
    watch, uploaded = Stopwatch(), 0
    total: ts.CKKSVector | None = None
    most, start = inputs.images.max(), time.perf_counter()
    for node, (update, images) in enumerate(zip(inputs.updates, inputs.images, strict=True)):
        with watch.lap("encrypt", f"node {node}"):
            weight = images / most
            upload = ts.ckks_vector(public, np.append(update * np.float32(weight), weight).tolist()).serialize()
        uploaded += len(upload)
        with watch.lap("add", SERVER):
            received = ts.ckks_vector_from(public, upload)
            total = received if total is None else total + received
    if total is None:
        raise ValueError("expected at least one node")
    with watch.lap("send the sum", SERVER):
        summed = total.serialize()
    with watch.lap("decrypt", HOLDER):
        values = np.array(ts.ckks_vector_from(holder, summed).decrypt())
        mean = values[:-1] / values[-1]
    return Answer(
        total_s=sum(watch.phases().values()),
        critical_s=watch.critical(),
        wall_s=time.perf_counter() - start,
        carrying_s=0.0,
        phases=watch.phases(),
        bytes_per_parameter=uploaded / inputs.updates.size,
        largest_error=largest_error(inputs, mean),
        package=f"tenseal {ts.__version__}",
        settings={"degree": DEGREE, "moduli": moduli, "scale_bits": SCALE_BITS},
    )


def main() -> None:
    """Warm up on a short vector, then measure once."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--moduli", type=int, nargs="+", default=FLARE_MODULI, help="Bits of each coefficient modulus.")
    chosen = parser.parse_args()
    inputs = read(chosen.inputs)
    aggregate(inputs.head(1000), chosen.moduli)
    write(aggregate(inputs, chosen.moduli), chosen.json)


if __name__ == "__main__":
    main()

"""What programs do with gradients beside training: the calls of reference_picked.py that are compositions, written step by
step as drawn_programs.py draws them."""
import torch
import torch.nn.functional as F
from drawn_answers import answered
from drawn_calls import Call
from drawn_programs import Program
from picked_kinks import f, i

W = f([[0.5, -1.0], [0.25, 0.75], [-0.5, 1.5]])
X = f([[1.0, -0.5, 2.0], [0.25, 1.5, -1.0]])
Y = f([[0.5, 1.0], [-1.0, 0.25]])


class Steps:
    """A program by hand. The methods give the register of their result."""

    def __init__(self, *inputs):
        self.call = Call("program")
        for x in inputs:
            self.call.inputs.append(x[0] if isinstance(x, list) else x)
            self.call.views.append(["const"] if isinstance(x, list) else [])
        leaves = [t.double().requires_grad_("const" not in v) if t.is_floating_point() else t.long() for t, v in zip(self.call.inputs, self.call.views)]
        self.program = Program(leaves, most=1e6)

    def __getattr__(self, name):
        def step(*regs, fun=None, **args):
            if not self.program.step(name, args, list(regs), fun or getattr(torch, name)):
                raise ValueError(name)
            return len(self.program.regs) - 1
        return step

    def number(self, name, x, n, swap=0):
        fun = {"add": lambda x: x + n, "sub": lambda x: n - x if swap else x - n, "mul": lambda x: x * n}[name]
        self.program.step("number", {"f": name, "n": n, "swap": swap}, [x], fun)
        return len(self.program.regs) - 1

    def all(self, name, x):
        return getattr(self, name)(x, axes="", keep=0, fun=lambda x: getattr(x, name)())

    def slope(self, y, x):
        return self.grad(y, x, fun=lambda y, x: torch.autograd.grad(y.sum(), x, create_graph=True, allow_unused=True, materialize_grads=True)[0])

    def again(self, body):
        self.program.bracket("[")
        out = body()
        self.program.bracket("]")
        return out

    def write(self):
        self.call.args.append("steps=" + " ".join(self.program.steps))
        self.call.flags = {"twice": 1}
        answered(self.call, self.program.run)


def error(s, x, w, y, activation="tanh"):
    """mean (activation(x w) − y)²."""
    out = getattr(s, activation)(s.matmul(x, w))
    return s.all("mean", s.square(s.sub(out, y)))


def all():
    # learning to learn: one to three inner steps whose rate is learned too (Finn et al. 2017), also with the inner slope held
    for turns in (1, 2, 3):
        for held in (False, True):
            s = Steps(W, X, Y, f(0.25), f([[0.5, 0.5, -1.0]]), f([[1.0, -1.0]]))
            w = 0
            for _ in range(turns):
                slope = s.slope(error(s, 1, w, 2), w)
                w = s.sub(w, s.mul(s.detach(slope) if held else slope, 3))
            error(s, 4, w, 5)
            s.write()
    # weights used twice, once transposed; and one weight in two layers
    s = Steps(W, X)
    hidden = s.tanh(s.matmul(1, 0))
    error(s, hidden, s.transpose(0, axis=0, other=1, fun=lambda x: x.transpose(0, 1)), 1)
    s.write()
    s = Steps(f([[0.5, -1.0], [0.25, 0.75]]), Y)
    error(s, s.tanh(s.matmul(s.relu(s.matmul(1, 0)), 0)), 0, 1)
    s.write()
    # a straight-through estimator, and a stopped branch
    for name in ("round", "sign", "floor"):
        s = Steps(f(0.3, -1.2, 2.6), f(1.0, 2.0, -0.5))
        s.mul(s.add(0, s.detach(s.sub(getattr(s, name)(0), 0))), 1)
        s.write()
    s = Steps(f(1.0, -2.0, 3.0))
    s.mul(s.detach(s.exp(0)), s.square(0))
    s.write()
    # what is not used, what is used beside its own copy, and the slope with respect to a result on the way
    s = Steps(f(1.0, -2.0), f(3.0, 0.5))
    s.slope(s.square(0), 1)
    s.write()
    s = Steps(f(1.0, -2.0))
    middle = s.tanh(0)
    s.mul(s.slope(s.exp(middle), middle), 0)
    s.write()
    s = Steps(f(0.5, -1.5))
    middle = s.square(0)
    s.slope(s.mul(middle, 0), middle)
    s.slope(s.mul(middle, 0), 0)
    s.write()
    # slopes of slopes up to the fourth
    for name in ("tanh", "sigmoid", "exp", "sin", "softplus", "gelu", "silu", "erf", "atan", "log1p", "gelu_tanh", "mish", "logsigmoid", "softsign", "asinh"):
        fun = {"gelu_tanh": lambda x: F.gelu(x, approximate="tanh")}.get(name) or getattr(torch, name, None) or getattr(F, name)
        s = Steps(f(0.5, 0.25, 1.5))
        y = getattr(s, name)(0, fun=fun)
        for _ in range(3):
            y = s.slope(y, 0)
        s.write()
    # a penalty on the slope with respect to data (Gulrajani et al. 2017), and a product with the second derivatives
    s = Steps(W, X, Y)
    slope = s.slope(s.square(s.tanh(s.matmul(1, 0))), 1)
    norm = s.norm(slope, p=2.0, axes=[1], keep=0, fun=lambda x: torch.linalg.vector_norm(x, 2.0, 1))
    s.all("mean", s.square(s.number("sub", norm, 1.0)))
    s.write()
    s = Steps(f(0.5, -0.25, 1.0), [f(1.0, -1.0, 0.5)])
    s.slope(s.mul(s.slope(s.exp(s.mul(0, s.sin(0))), 0), 1), 0)
    s.write()
    # computed again: slopes within, brackets within brackets, a result that is used inside and outside
    s = Steps(W, X, Y)
    hidden = s.again(lambda: s.tanh(s.matmul(1, 0)))
    inner = s.again(lambda: s.add(s.again(lambda: s.exp(s.mul(hidden, 2))), hidden))
    s.all("sum", s.mul(inner, hidden))
    s.write()
    s = Steps(W, X, Y)
    slope = s.again(lambda: s.slope(error(s, 1, 0, 2), 0))
    s.again(lambda: error(s, 1, s.sub(0, slope), 2, "sigmoid"))
    s.write()
    s = Steps(f(1.0, 2.0), f(0.5, -1.0))
    kept = s.again(lambda: s.detach(s.square(s.again(lambda: s.exp(0)))))
    s.mul(s.mul(kept, 0), 1)
    s.write()
    # rows taken twice, written over, and their slopes
    s = Steps(W, [i(0, 2, 0)])
    s.square(s.index_select(0, 1, axis=0, fun=lambda x, j: x.index_select(0, j)))
    s.write()
    s = Steps(W, [i(0, 2, 0)], f([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]))
    s.tanh(s.index_add(0, 1, 2, axis=0, fun=lambda x, j, v: x.index_add(0, j, v)))
    s.write()
    # an index whose axis of one element has a stride, beside one that is repeated
    s = Steps(f([[1.0, -2.0, 0.5, 4.0], [3.0, 0.25, -1.0, 2.0]]), [i([[1, 0, 1, 0]])])
    index = s.narrow(1, axis=1, start=0, len=1, fun=lambda j: j.narrow(1, 0, 1))
    index = s.expand(index, list=[1, 4], fun=lambda j: j.expand(1, 4))
    s.square(s.gather(0, index, axis=0, fun=lambda x, j: x.gather(0, j)))
    s.write()

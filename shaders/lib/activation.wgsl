// Both activations are z -> x * sigmoid(z): silu has z = x, gelu (tanh form) z = sqrt(8 / pi) * (x + 0.044715 x^3),
// since (1 + tanh(u)) / 2 = sigmoid(2 u). The bound keeps exp finite.

override GELU: bool = false;

fn activate(x: f32) -> f32 {
  let z = select(x, 1.5957691216057308 * (x + 0.044715 * x * x * x), GELU);
  return x / (1 + exp(min(-z, 80)));
}

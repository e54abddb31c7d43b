/**
 * What the client may ask and the server answers. Both sides import this one value; everything else follows from it.
 */
import { double, message, uint32 } from "../../src/base/index.ts";
import { contract, unary } from "../../src/rpc/index.ts";

const SqrtRequest = message("example.SqrtRequest", {
  /** The number whose square root is wanted. */
  x: double(1),
});

const SqrtResponse = message("example.SqrtResponse", {
  /** The approximation. */
  z: double(1),
  /** How many rounds it took. */
  iterationCount: uint32(2),
});

export const Calculator = contract("example.Calculator", {
  sqrt: unary(1, SqrtRequest, SqrtResponse),
});

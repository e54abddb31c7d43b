/** The conformance suite of the doors on simulated machines. */
import { doorsConformance } from "../base/doors.suite.ts";
import { nextTurn } from "../host/index.ts";
import { Simulator } from "./index.ts";

for (const seed of ["one", "two", "three"]) {
  doorsConformance(`simulated, seed ${seed}`, async () => {
    const simulator = new Simulator({ seed, drain: nextTurn });
    const { env } = simulator.machine("a");
    return {
      env,
      addresses: ["a:0", "127.0.0.1:0", "memory:meeting"],
      run: (promise) => simulator.run(promise),
      close: async () => {},
    };
  });
}

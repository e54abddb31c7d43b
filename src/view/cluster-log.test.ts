/** The log with several members that the tests use keeps the contract. */
import { logConformance } from "../log/conformance.suite.ts";
import { ClusterLog } from "./cluster-log.suite.ts";

logConformance("an array with several members", async () => {
  const cluster = new ClusterLog();
  cluster.member();
  const engine = cluster.member();
  // The test decides who does the chores.
  engine.setPrimary(true);
  return { engine, run: (promise) => promise, cleanUp: async () => {} };
});

/** The conformance suite on the pipeline that works in place. */
import { NodeCipher, NodeClock, NodeDigest } from "../host/index.ts";
import { MemoryFileSystem } from "../sim/index.ts";
import { PlainPipeline } from "./index.ts";
import { pipelineConformance } from "./pipeline.suite.ts";

pipelineConformance("plain", async () => {
  const env = { clock: new NodeClock(), digest: new NodeDigest(), cipher: new NodeCipher() };
  const fileSystem = new MemoryFileSystem();
  await fileSystem.makeFolder("/files", 0o755);
  const another = () => new PlainPipeline(env, fileSystem);
  return { pipeline: another(), another, fileSystem, folder: "/files", close: async () => {} };
});

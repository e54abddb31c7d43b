/** `log`: the shared log. The `LogEngine` contract, the journal on disk, the engines and the chain that joins them. */
export { Chain, decodeSuccessor, Successor, successorRecord } from "./chain.ts";
export type { ChainOptions } from "./chain.ts";
export type { AppendOutcome, LogBatch, LogCapabilities, LogEngine } from "./engine.ts";
export { FileEngine } from "./file-engine.ts";
export { Journal } from "./journal.ts";
export type { JournalEnv, JournalOptions } from "./journal.ts";
export { MemoryEngine } from "./memory-engine.ts";
export { RaftEngine } from "./raft/raft-engine.ts";
export { RaftService } from "./raft/wire.ts";
export type { RaftEngineOptions } from "./raft/raft-engine.ts";
export { verifyJournal } from "./verify.ts";
export type { JournalReport, JournalVerifyOptions } from "./verify.ts";

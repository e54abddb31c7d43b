/**
 * Deliberate bugs: each a change of the source's text, made while it is loaded, and the probe that must catch it. What is
 * to be found stands exactly once in its file, so that a mutant cannot get lost when the code moves.
 */
import type { ProbeName } from "./probes.ts";

export interface Mutant {
  readonly name: string;
  /** Below `src/`. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly probe: ProbeName;
}

export const mutants: readonly Mutant[] = [
  {
    name: "a vote is counted twice",
    file: "raft/raft.ts",
    find: "    if (!this.#votes.has(from)) this.#votes.set(from, granted);",
    replace: `    if (!this.#votes.has(from)) this.#votes.set(from, granted);
    const more = this.configuration.members.find((one) => isVoter(one) && !this.#votes.has(one.id));
    if (granted && more !== undefined) this.#votes.set(more.id, true);`,
    probe: "machines",
  },
  {
    name: "two votes in one term",
    file: "raft/raft.ts",
    find: "const free = this.#vote === from ||",
    replace: "const free = true ||",
    probe: "machines",
  },
  {
    name: "a vote is forgotten when the member restarts",
    file: "raft/raft.ts",
    find: "vote: this.#vote, commit: machine.commit }",
    replace: "vote: 0, commit: machine.commit }",
    probe: "machines",
  },
  {
    name: "a vote is told before it is durable",
    file: "raft/raft.ts",
    find: "machine.promise({ kind: answer, to: from, granted });",
    replace: "machine.send({ kind: answer, to: from, granted });",
    probe: "machines",
  },
  {
    name: "a candidate is elected although its log is behind",
    file: "raft/raft.ts",
    find: "const granted = free && upToDate;",
    replace: "const granted = free;",
    probe: "machines",
  },
  {
    name: "a leader does not step down on a higher term",
    file: "raft/raft.ts",
    find: "      this.#follow(term, leads ? from : 0);\n      return true;",
    replace: `      if (this.#leadership === undefined) this.#follow(term, leads ? from : 0);
      else machine.term = term;
      return true;`,
    probe: "machines",
  },
  {
    name: "an append is accepted before it is durable",
    file: "raft/raft.ts",
    find: 'machine.promise({ kind: "appendAnswer", to: from, accepted: true, index: last,',
    replace: 'machine.send({ kind: "appendAnswer", to: from, accepted: true, index: last,',
    probe: "machines",
  },
  {
    name: "an append is accepted without a look at the entry before it",
    file: "raft/raft.ts",
    find: "if (log.termAt(index) !== entryTerm) {",
    replace: "if (index > log.lastIndex) {",
    probe: "machines",
  },
  {
    name: "entries that differ from the leader's are kept",
    file: "raft/raft.ts",
    find: "entries.findIndex((entry) => log.termAt(entry.index) !== entry.term)",
    replace: "entries.findIndex((entry) => entry.index > log.lastIndex)",
    probe: "machines",
  },
  {
    name: "an append cuts off entries that agree",
    file: "raft/raft.ts",
    find: "entries.findIndex((entry) => log.termAt(entry.index) !== entry.term)",
    replace: "entries.findIndex((entry) => entry.index > machine.commit)",
    probe: "machines",
  },
  {
    name: "entries are applied before they are committed",
    file: "raft/raft.ts",
    find: "const committed = Math.min(machine.commit, machine.durable);",
    replace: "const committed = machine.durable;",
    probe: "machines",
  },
  {
    name: "an entry of an earlier term is committed by counting",
    file: "raft/leadership.ts",
    find: "if (reached <= this.#machine.commit || reached < this.#firstIndex) return;",
    replace: "if (reached <= this.#machine.commit) return;",
    probe: "machines",
  },
  {
    name: "a leader counts its own entries before they are durable",
    file: "raft/leadership.ts",
    find: "id === self ? durable : (this.#progress.get(id)?.match ?? 0),",
    replace: "id === self ? log.lastIndex : (this.#progress.get(id)?.match ?? 0),",
    probe: "machines",
  },
  {
    name: "reads are answered without a majority",
    file: "raft/leadership.ts",
    find: "if (!hasMajority(this.#configuration, heard)) return;\n    const outcome",
    replace: "if (!hasMajority(this.#configuration, heard) && round < 0) return;\n    const outcome",
    probe: "machines",
  },
  {
    name: "reads are answered before the term has committed an entry",
    file: "raft/leadership.ts",
    find: "this.#nextReads.length > 0 && this.#hasCommittedInTerm)",
    replace: "this.#nextReads.length > 0)",
    probe: "machines",
  },
  {
    name: "one majority decides while two are needed",
    file: "raft/quorum.ts",
    find: "return joint ? [present, past] : [present];",
    replace: "return joint ? [present] : [present];",
    probe: "machines",
  },
  {
    name: "a change of the membership begins while another is under way",
    file: "raft/leadership.ts",
    find: "const busy = this.#configuration.joint || log.configurationIndex > commit || !this.#hasCommittedInTerm;",
    replace: "const busy = this.#configuration.joint;",
    probe: "machines",
  },
  {
    name: "promises are sent before the disk has what they promise",
    file: "log/raft/raft-engine.ts",
    find: `      this.#wal.submit(write, () => {
        for (const message of promises) this.#peers.send(message);`,
    replace: `      for (const message of promises) this.#peers.send(message);
      this.#wal.submit(write, () => {`,
    probe: "blackouts",
  },
  {
    name: "an append whose answer is lost is sent again",
    file: "log/raft/appends.ts",
    find: "const again = !error.maybe && (error.code",
    replace: "const again = (error.maybe || !error.maybe) && (error.code",
    probe: "cuts",
  },
  {
    name: "the journal answers before its writes are durable",
    file: "log/journal.ts",
    find: `return { segment, file: await this.#env.disk.open(segment.path, "write", { durable: true }) };`,
    replace: `return { segment, file: await this.#env.disk.open(segment.path, "write", { durable: false }) };`,
    probe: "blackouts",
  },
  {
    name: "linearizable reads take what the member has",
    file: "view/tail-question.ts",
    find: "return this.#log.tail();",
    replace: "return Promise.resolve(this.#log.committed());",
    probe: "churn",
  },
  {
    name: "sessions are forgotten on a restart",
    file: "view/applier.ts",
    find: "for (const { key, value } of batch) this.sessions.load(key, value);",
    replace: "for (const { key, value } of batch) if (key.length === 0) this.sessions.load(key, value);",
    probe: "blackouts",
  },
  {
    name: "a command that comes again takes effect again",
    file: "view/sessions.ts",
    find: `if (outcome !== undefined) return { kind: "answered", outcome };`,
    replace: `if (outcome?.length === -1) return { kind: "answered", outcome };`,
    probe: "churn",
  },
  {
    name: "the log is trimmed before the checkpoint is durable",
    file: "view/checkpointer.ts",
    find: "    await this.#store.save(record, { keep: this.#pins.files(older), lackingPins });",
    replace:
      "    await this.#log.trim(position(record.position));\n    await this.#store.save(record, { keep: this.#pins.files(older), lackingPins });",
    probe: "checkpoints",
  },
  {
    name: "a checkpoint's position is taken apart from its state",
    file: "view/checkpointer.ts",
    find: "const record: CheckpointRecord = { ...state, rootHash",
    replace: "const record: CheckpointRecord = { ...state, position: this.#source.position(), rootHash",
    probe: "checkpoints",
  },
  {
    name: "a checkpoint is noted before its pages are durable",
    file: "tree/flush.ts",
    find: "    await this.#context.blobs.sync();\n",
    replace: "",
    probe: "blackouts",
  },
  {
    name: "a fetched state is acknowledged before it is durable",
    file: "tree/fetch.ts",
    find: "    await this.#local.sync();\n    const progress",
    replace: "    const progress",
    probe: "catchUp",
  },
  {
    name: "a collection pays no heed to uploads",
    file: "view/collector-epochs.ts",
    find: "    return uploads.length === 0 ?",
    replace: "    return uploads.length >= 0 ?",
    probe: "collections",
  },
  {
    name: "a watch goes on one revision too late",
    file: "view/key/remote.ts",
    find: "this.#from = revision + 1;",
    replace: "this.#from = revision + 2;",
    probe: "churn",
  },
  {
    name: "a watch goes on one revision too early",
    file: "view/key/remote.ts",
    find: "this.#from = revision + 1;",
    replace: "this.#from = Math.max(1, revision);",
    probe: "churn",
  },
  {
    name: "a lease ends when a wall clock says so",
    file: "view/lease/lease-keeper.ts",
    find: "Math.max(dueMs - monotonicMs, deadlineMs - storeMs)",
    replace: "deadlineMs - storeMs",
    probe: "clocks",
  },
  {
    name: "a condition is checked before the log, not when it is applied",
    file: "view/key/key-view.ts",
    find: 'if (!result) return new Refusal("conflict", conflictText(context, compare as Compare));',
    replace: "",
    probe: "churn",
  },
];

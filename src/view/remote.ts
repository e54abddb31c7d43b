/**
 * A proposer whose replica is elsewhere. Its commands take effect exactly once, through a session: when an answer is
 * lost, the same command is sent again, and the store answers what it answered.
 */
import { abortable, deferred, HoldfastError, sleep } from "../base/index.ts";
import type { Clock, Deferred, Env, Infer } from "../base/index.ts";
import type { RpcClient, Stub } from "../rpc/index.ts";
import { fromEncodedOutcome } from "./applier.ts";
import type {
  CommandOutcome,
  EncodedOperation,
  EncodedOutcome,
  Operation,
  ProposeOptions,
  Proposer,
} from "./command.ts";
import { CommandService } from "./service.ts";

export interface RemoteOptions {
  /** How long one call may take, retries included. */
  readonly timeoutMs: number;
}

/** Commands of one client under way; the others wait here, within what a connection and a session take. */
const commandCountMax = 1_024;

type RemoteEnv = Pick<Env, "clock" | "random">;

export class RemoteProposer implements Proposer {
  readonly #env: RemoteEnv;
  readonly #stub: Stub<(typeof CommandService)["methods"]>;
  readonly #timeoutMs: number;
  #session: Promise<ClientSession> | undefined;
  #underWay = 0;
  /** Commands that wait until others are answered. */
  readonly #queue: Deferred<void>[] = [];

  constructor(env: RemoteEnv, client: RpcClient, options: RemoteOptions) {
    this.#env = env;
    this.#stub = client.use(CommandService);
    this.#timeoutMs = options.timeoutMs;
  }

  async propose(operations: readonly Operation[], { signal }: ProposeOptions = {}): Promise<CommandOutcome> {
    const encoded = operations.map((one) => ({
      viewId: one.view.id,
      body: "encoded" in one ? one.encoded : one.view.operation.encode(one.body as never),
    }));
    await this.#enter(signal);
    try {
      return await this.#propose(operations, encoded, signal);
    } finally {
      this.#leave();
    }
  }

  /** Waits until one more command may be under way. */
  async #enter(signal: AbortSignal | undefined): Promise<void> {
    if (this.#underWay < commandCountMax) {
      this.#underWay++;
      return;
    }
    const turn = deferred<void>();
    this.#queue.push(turn);
    try {
      await abortable(turn.promise, signal);
    } catch (error) {
      const index = this.#queue.indexOf(turn);
      if (index >= 0) this.#queue.splice(index, 1);
      else this.#leave();
      throw error;
    }
  }

  #leave(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.#underWay--;
    else next.resolve();
  }

  async #propose(
    operations: readonly Operation[],
    encoded: readonly Infer<typeof EncodedOperation>[],
    signal: AbortSignal | undefined,
  ): Promise<CommandOutcome> {
    const deadline = new Deadline(this.#env.clock, this.#timeoutMs);
    for (;;) {
      const opening = this.#openSession();
      const session = await abortable(opening, signal);
      const sequence = session.begin();
      try {
        const outcome = await this.#send(session, sequence, encoded, deadline, signal);
        if (outcome !== undefined)
          return fromEncodedOutcome(
            operations.map(({ view }) => view),
            outcome,
          );
        // The session had ended before it saw the command: a new one may send it.
        if (this.#session === opening) this.#session = undefined;
      } finally {
        session.end(sequence);
      }
    }
  }

  /** Undefined when the session has ended and the command cannot have taken effect. */
  async #send(
    session: ClientSession,
    sequence: number,
    operations: readonly Infer<typeof EncodedOperation>[],
    deadline: Deadline,
    signal: AbortSignal | undefined,
  ) {
    let sentBefore = false;
    for (let attempt = 1; ; attempt++) {
      let refused: EncodedOutcome | undefined;
      try {
        const request = { session: session.id, sequence, acknowledgedBelow: session.acknowledgedBelow, operations };
        const outcome = await this.#stub.propose(request, deadline.options(signal));
        if (!outcome.sessionRefused) return outcome;
        if (!sentBefore && outcome.code === "notFound") return undefined;
        refused = outcome;
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        sentBefore ||= error.maybe;
        if (error.code !== "unavailable" || deadline.passed) throw withMaybe(error, sentBefore);
      }
      // Too many answers that are not acknowledged yet: that passes. A session that is gone does not come back.
      if (refused !== undefined && (refused.code !== "exhausted" || deadline.passed)) {
        throw new HoldfastError("unavailable", `the answer is lost: ${refused.message}`, { maybe: sentBefore });
      }
      await backOff(this.#env, attempt, signal);
    }
  }

  /** The session, or the opening of one, which all who need it share: nobody's signal or deadline ends it. */
  #openSession(): Promise<ClientSession> {
    if (this.#session === undefined) {
      const deadline = new Deadline(this.#env.clock, this.#timeoutMs);
      const opening = retried(this.#env, deadline, undefined, (options) => this.#stub.session({}, options)).then(
        ({ session }) => new ClientSession(session),
      );
      this.#session = opening;
      // Whoever comes next tries anew.
      opening.catch(() => {
        if (this.#session === opening) this.#session = undefined;
      });
    }
    return this.#session;
  }

  /** Ends the session, so that the store need not remember it; best effort. */
  async close(): Promise<void> {
    const session = await this.#session?.catch(() => undefined);
    if (session === undefined) return;
    await this.#stub.session({ close: session.id }, { timeoutMs: 1_000 }).catch(() => {});
  }
}

/** Counts a session's commands and knows which answers have come. */
class ClientSession {
  readonly id: number;
  #next = 1;
  #low = 1;
  readonly #ended = new Set<number>();

  constructor(id: number) {
    this.id = id;
  }

  get acknowledgedBelow(): number {
    return this.#low;
  }

  begin(): number {
    return this.#next++;
  }

  /** The command's answer has come, or is no longer wanted. */
  end(sequence: number): void {
    this.#ended.add(sequence);
    while (this.#ended.delete(this.#low)) this.#low++;
  }
}

export class Deadline {
  readonly #clock: Clock;
  readonly #atMs: number;

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#atMs = clock.monotonicMs() + timeoutMs;
  }

  get passed(): boolean {
    return this.#clock.monotonicMs() >= this.#atMs;
  }

  options(signal: AbortSignal | undefined): { readonly timeoutMs: number; readonly signal?: AbortSignal } {
    const timeoutMs = Math.max(1, Math.ceil(this.#atMs - this.#clock.monotonicMs()));
    return signal === undefined ? { timeoutMs } : { timeoutMs, signal };
  }
}

/** Repeats a call that changes nothing, or nothing that matters, until it succeeds or the deadline passes. */
export async function retried<T>(
  env: RemoteEnv,
  deadline: Deadline,
  signal: AbortSignal | undefined,
  call: (options: ReturnType<Deadline["options"]>) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call(deadline.options(signal));
    } catch (error) {
      const again = error instanceof HoldfastError && error.code === "unavailable" && !deadline.passed;
      if (!again) throw error;
    }
    await backOff(env, attempt, signal);
  }
}

/** Waits a random time that grows with each attempt, up to a second. */
export function backOff(env: RemoteEnv, attempt: number, signal: AbortSignal | undefined): Promise<void> {
  return sleep(env.clock, env.random.float() * Math.min(1_000, 10 * 2 ** Math.min(attempt, 7)), signal);
}

function withMaybe(error: HoldfastError, maybe: boolean): HoldfastError {
  return error.maybe === maybe ? error : new HoldfastError(error.code, error.message, { maybe, cause: error });
}

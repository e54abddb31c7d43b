/**
 * Does a client's command take effect once, however often it is sent? Every command has a name that its effect shows: the
 * value that it writes, or the number that it adds to.
 *
 * 1. A command takes effect at most once, and only if it was sent.
 * 2. One that was acknowledged took effect, at the revision that was told; one that was refused did not.
 * 3. A command that is answered again is answered the same.
 */
import { Violation } from "./violation.ts";

export type CommandAnswer =
  | { readonly kind: "done"; readonly revision: number }
  | { readonly kind: "refused" }
  /** It may have taken effect, and may do so later. */
  | { readonly kind: "unknown" };

export interface CommandEffect {
  readonly command: string;
  readonly revision: number;
}

export class SessionChecker {
  readonly #answers = new Map<string, CommandAnswer>();

  /** Before it is sent for the first time. */
  sent(command: string): void {
    if (this.#answers.has(command)) throw new Violation("session", `two commands are named ${command}`);
    this.#answers.set(command, { kind: "unknown" });
  }

  answered(command: string, answer: CommandAnswer): void {
    const known = this.#answers.get(command);
    if (known === undefined) throw new Violation("session", `an answer came to ${command}, which was not sent`);
    if (answer.kind === "unknown") return;
    if (known.kind !== "unknown" && answerText(known) !== answerText(answer)) {
      throw new Violation("session", `${command} was ${answerText(known)}, and then ${answerText(answer)}`);
    }
    this.#answers.set(command, answer);
  }

  /** All effects that the commands left, in any order: from the log, the history of a key, or the final state. */
  finish(effects: Iterable<CommandEffect>): { readonly doneCount: number; readonly unknownCount: number } {
    const revisions = new Map<string, number>();
    for (const { command, revision } of effects) {
      const answer = this.#answers.get(command);
      if (answer === undefined) throw new Violation("session", `${command} took effect and was never sent`);
      if (answer.kind === "refused") {
        throw new Violation("session", `${command} was refused, and took effect at revision ${revision}`);
      }
      const first = revisions.get(command);
      if (first !== undefined) {
        throw new Violation("session", `${command} took effect twice, at the revisions ${first} and ${revision}`);
      }
      revisions.set(command, revision);
    }
    let [doneCount, unknownCount] = [0, 0];
    for (const [command, answer] of this.#answers) {
      if (answer.kind === "unknown") unknownCount += 1;
      if (answer.kind !== "done") continue;
      doneCount += 1;
      const revision = revisions.get(command);
      if (revision === answer.revision) continue;
      const what = revision === undefined ? "there is no trace of it" : `it took effect at ${revision}`;
      throw new Violation("session", `${command} was ${answerText(answer)}; ${what}`);
    }
    return { doneCount, unknownCount };
  }
}

function answerText(answer: CommandAnswer): string {
  return answer.kind === "done" ? `done at revision ${answer.revision}` : answer.kind;
}

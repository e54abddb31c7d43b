/**
 * Commands over the network: what a client asks of the member that proposes for it, and that member's half.
 */
import { embed, HoldfastError, message, repeated, uint64 } from "../base/index.ts";
import { contract, implement, unary } from "../rpc/index.ts";
import type { Service } from "../rpc/index.ts";
import { toEncodedOutcome } from "./applier.ts";
import { accepted, EncodedOperation, EncodedOutcome, operation } from "./command.ts";
import type { Operation } from "./command.ts";
import type { Replica } from "./replica.ts";
import { SessionOperation, SessionResult, sessionViewId } from "./sessions.ts";
import type { View } from "./view.ts";

const ProposeRequest = message("holdfast.view.ProposeRequest", {
  /** 0 for a command that is proposed once and never retried. */
  session: uint64(1),
  sequence: uint64(2),
  acknowledgedBelow: uint64(3),
  operations: repeated(embed(4, EncodedOperation)),
});

export const CommandService = contract("holdfast.view.Commands", {
  /** Answers what became of the command, refusals included; fails only if that is unknown or nothing was tried. */
  propose: unary(1, ProposeRequest, EncodedOutcome),
  /** Opens a session, or ends the one that `close` names. */
  session: unary(2, SessionOperation, SessionResult),
});

const sessionView = {
  id: sessionViewId,
  name: "session",
  operation: SessionOperation,
  result: SessionResult,
} as unknown as View;

export function commandService(replica: Replica, views: readonly View[]): Service {
  const byId = new Map(views.map((view) => [view.id, view]));
  const viewOf = (id: number): View => {
    const view = byId.get(id);
    if (view !== undefined) return view;
    throw new HoldfastError("invalid", `this member knows no view ${id}; it may be older than the client`);
  };
  return implement(CommandService, {
    async propose({ operations: encoded, session, sequence, acknowledgedBelow }, { signal }) {
      const operations = encoded.map(({ viewId, body }): Operation => ({ view: viewOf(viewId), encoded: body }));
      const stamp = session === 0 ? {} : { stamp: { session, sequence, acknowledgedBelow } };
      const outcome = await replica.propose(operations, { ...stamp, signal });
      return toEncodedOutcome(
        operations.map(({ view }) => view),
        outcome,
      );
    },
    async session(body, { signal }) {
      const outcome = accepted(await replica.propose([operation(sessionView as View<unknown>, body)], { signal }));
      return outcome.results[0] as { session: number };
    },
  });
}

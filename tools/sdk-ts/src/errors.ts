/** What a server refuses, by name. */

/** Names of error codes, as docs/protocol.md lists them. */
export const ERROR_NAMES: Readonly<Record<number, string>> = {
  1: "MALFORMED", 2: "FRAME_TOO_LARGE", 3: "CHECKSUM", 4: "VERSION", 5: "UNKNOWN_KIND", 6: "UNEXPECTED_KIND", 7: "HELLO_EXPECTED",
  8: "HELLO_TWICE", 9: "TOO_SLOW", 10: "NOT_SPOKEN", 20: "TOKEN_MISSING", 21: "TOKEN_INVALID", 22: "TOKEN_EXPIRED", 23: "TOKEN_WRONG_USER",
  24: "TOKEN_WRONG_DEVICE", 25: "SUPERSEDED", 26: "TENANT_UNKNOWN", 27: "DEVICE_REVOKED", 28: "TOKEN_REVOKED", 40: "NOT_MEMBER",
  41: "BAD_PEER", 42: "PAYLOAD_TOO_LARGE", 43: "PAYLOAD_CHECKSUM", 44: "OUT_OF_ORDER", 45: "STALE", 46: "WINDOW_EXCEEDED",
  47: "FUTURE_SEQ", 48: "EXPIRED", 49: "CONTROL_UNKNOWN", 50: "BODY_INVALID", 51: "NOT_ALLOWED", 52: "NONCE_CONFLICT", 53: "GONE",
  54: "GROUP_FULL", 55: "LAST_OWNER", 56: "NO_SUCH_MEMBER", 57: "ALREADY_MEMBER", 58: "ID_AHEAD", 59: "SETTING_INVALID", 60: "BUSY",
  61: "RATE_LIMITED", 62: "FULL", 63: "HISTORY_UNAVAILABLE", 64: "BUDGET_EXCEEDED", 65: "TARGET_INVALID", 66: "TARGET_ERASED",
  67: "TOO_LATE", 68: "TOO_MANY", 69: "STORAGE_FULL", 70: "NO_SUCH_DEVICE", 71: "BLOCKED", 72: "STREAM_DIFFERS", 73: "OVERLOADED", 74: "PACKED_INVALID", 75: "NO_ROOM",
};

/** What to do about an ERROR. */
export const RETRY = { never: 0, later: 1, reconnect: 2, stop: 3 } as const;

/** The server refuses something. */
export class Refused extends Error {
  override name = "Refused";

  constructor(
    /** The code's name, for example `NOT_MEMBER`; its number, if it is not known here. */
    readonly code: string,
    /** What the server said about it. */
    readonly explanation: string,
  ) {
    super(explanation ? `${code}: ${explanation}` : code);
  }
}

// Errors of the server in a reader's words.

const LATER = "Try again in a few seconds.";
const BY_CODE = {
  context_length_exceeded: "The question is too long for these models. Shorten it.",
  body_too_large: "The question is too long for this server. Shorten it.",
  body_too_slow: "The connection is too slow: the question did not arrive in time.",
  invalid_api_key: "This server asks for a key. Type one in.",
  operator_key_needed: "Only an operator's key opens this view. Type one in: `trim keys create NAME --operator` makes it.",
  insufficient_quota: "This key has spent its budget for today. The next one begins at midnight UTC.",
  model_not_found: "This server has no such router. Choose another one.",
  unsupported_feature: "These models cannot serve such a question.",
  overloaded: `Too many questions are being answered at present. ${LATER}`,
  model_unavailable: `A model does not answer. ${LATER}`,
  database_unavailable: `The server cannot reach its database. ${LATER}`,
  deadline: `No answer came in time. ${LATER}`,
};
const BY_STATUS = {
  400: "The server did not understand this question.",
  401: BY_CODE.invalid_api_key,
  403: "This key may not see this.",
  404: "This server has no such router. Choose another one.",
  413: BY_CODE.body_too_large,
  429: `Too many questions at a time. ${LATER}`,
  500: "The server made a mistake. Its log says more.",
  503: `The server cannot answer at present. ${LATER}`,
  504: BY_CODE.deadline,
};

// A sentence for a reader, and what the server reported, if that is more.
export function inWords(error) {
  const known = BY_CODE[error.code] ?? BY_STATUS[error.status];
  return known ? { sentence: known, report: error.message } : { sentence: error.message, report: "" };
}

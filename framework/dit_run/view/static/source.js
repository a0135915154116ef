// Where the page gets its data: the server, or the data inside a report.

const embedded = document.getElementById("report-data");
const report = embedded ? JSON.parse(embedded.textContent) : null;
const answers = new Map();

export const isReport = report !== null;

async function get(path) {
  const known = answers.get(path);
  const headers = known?.etag ? { "If-None-Match": known.etag } : {};
  const response = await fetch(path, { headers, cache: "no-store" });
  if (response.status === 304 && known) return known.value;
  if (!response.ok) throw new Error(response.status === 404 ? "not_found" : await response.text());
  const value = await response.json();
  const etag = response.headers.get("ETag");
  if (etag) {
    if (answers.size > 50) answers.clear();
    answers.set(path, { etag, value });
  }
  return value;
}

async function send(method, path, body) {
  const options = { method, headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body) };
  const response = await fetch(path, options);
  const value = await response.json();
  if (!response.ok) throw new Error(value.error);
  return value;
}

function reported(run) {
  const found = report.details[run];
  if (!found) throw new Error("not_found");
  return found;
}

const live = {
  runs: () => get("api/runs"),
  details: (run) => get(`api/runs/${run}`),
  curves: (run, query = "") => get(`api/runs/${run}/curves?${query}`),
  metrics: (run) => `api/runs/${run}/metrics.jsonl`,
  config: (run) => get(`api/runs/${run}/config`),
  differences: (runs) => get(`api/differences?runs=${runs.join(",")}`),
  thumbnail: (run, step) => `images/${run}/thumbnail/${step}`,
  cell: (run, step, index) => `images/${run}/cell/${step}/${index}`,
  grid: (run, step) => `images/${run}/grid/${step}.png`,
  check: (run) => `images/${run}/check.png`,
  trySettings: (run) => get(`api/runs/${run}/try`),
  tryJobs: () => get("api/try"),
  tryStart: (run, settings) => send("POST", `api/runs/${run}/try`, settings),
  tryCancel: (job) => send("DELETE", `api/try/${job}`),
  tryImage: (job, index) => `api/try/${job}/${index}.png`,
};

const written = {
  runs: async () => report.runs,
  details: async (run) => reported(run),
  curves: async (run) => ({ complete: true, series: report.curves[run] ?? {} }),
  config: async (run) => report.configs[run],
  differences: async () => report.differences,
  thumbnail: (run, step) => report.images[`${run}/${step}/0`] ?? report.images[`${run}/${step}/grid`],
  cell: (run, step, index) => report.images[`${run}/${step}/${index}`],
  grid: (run, step) => report.images[`${run}/${step}/grid`],
  check: (run) => report.images[`${run}/check`],
};

export const source = isReport ? written : live;

const SHARE = 50;

// Call a function now and again while a view is shown and somebody looks: after some seconds, or later where the answer
// takes the server long, so that a training next to it does not notice.
export function repeat(view, seconds, action) {
  let took = 0;
  const later = () => setTimeout(again, Math.max(seconds() * 1000, SHARE * took));
  const again = async () => {
    if (!view.isConnected) return;
    if (!document.hidden) {
      const began = performance.now();
      try {
        await action();
        took = performance.now() - began;
        document.body.classList.remove("lost");
      } catch (error) {
        if (error instanceof TypeError) document.body.classList.add("lost");
        else console.info(error.message);
      }
    }
    later();
  };
  if (!isReport) later();
}

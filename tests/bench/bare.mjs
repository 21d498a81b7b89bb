// The baseline: a pass-through that maps the host to its upstream, and nothing else.
const hosts = new Map();

export default {
  fetch(request, env) {
    if (hosts.size === 0) for (const [host, upstream] of Object.entries(JSON.parse(env.HOSTS))) hosts.set(host, upstream);
    const url = new URL(request.url);
    const upstream = hosts.get(url.host);
    if (!upstream) return new Response(null, { status: 421 });
    return fetch(new Request(upstream + url.pathname + url.search, request));
  },
};

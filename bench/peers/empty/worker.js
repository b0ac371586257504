// The least that answers: what the start of any Worker costs in workerd.
export default { fetch: () => new Response("ok\n") };

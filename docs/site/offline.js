// Search where the site is read from a folder: browsers start no workers from files there. A frame does the same work:
// it loads the worker's script, and what is posted to either side is dispatched at the other. Elsewhere this does
// nothing. The theme's worker looks for the name IFrameWorker.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      const heard = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.inside.postMessage = heard;
      this.inside.importScripts = (...urls) =>
        urls.reduce((before, next) => before.then(() => this.load(next)), Promise.resolve());
      this.ready = this.load(url);
    }
    load(url) {
      const script = this.inside.document.createElement("script");
      script.src = new URL(url, location.href).href;
      this.inside.document.body.append(script);
      return new Promise((done) => (script.onload = done));
    }
    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}

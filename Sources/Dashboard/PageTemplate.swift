/// The page's text: part of the program, so that it is one file.
enum PageTemplate {
    static let html = """
        <!doctype html>
        <html lang="{{language}}">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        {{#refreshes}}<meta http-equiv="refresh" content="30">{{/refreshes}}
        <title>{{title}}</title>
        <link rel="stylesheet" href="/style.css">
        </head>
        <body>
        <header>
        <h1>billingd</h1>
        <p class="state {{mood}}" id="state">{{state}}</p>
        <p class="quiet">{{mode}} · {{time}} {{zone}} · {{version}} · <a href="{{otherLink}}">{{otherWord}}</a></p>
        </header>
        <main>
        {{#trouble}}<p class="trouble" role="alert">{{trouble}}</p>{{/trouble}}
        <section class="tiles" aria-label="{{nowTitle}}">
        {{#tiles}}<div class="tile {{mood}}"><b id="{{id}}">{{value}}</b><span>{{label}}</span></div>
        {{/tiles}}</section>
        {{#charts}}
        <section id="{{id}}">
        <h2>{{title}}</h2>
        {{#missing}}<p class="quiet">{{missing}}</p>{{/missing}}
        {{#summary}}<p class="summary">{{summary}}</p>{{/summary}}
        {{{svg}}}
        {{#keys}}<span class="key"><i class="{{style}}"></i>{{label}}</span> {{/keys}}
        {{#hasRows}}<details><summary>{{rowsTitle}}</summary><table>
        <thead><tr>{{#heads}}<th scope="col">{{.}}</th>{{/heads}}</tr></thead>
        <tbody>
        {{#rows}}<tr>{{#cells}}<td>{{.}}</td>{{/cells}}</tr>
        {{/rows}}</tbody></table></details>{{/hasRows}}
        </section>
        {{/charts}}
        <section id="waiting">
        <h2>{{waitingTitle}}</h2>
        {{#waitingMissing}}<p class="quiet">{{waitingMissing}}</p>{{/waitingMissing}}
        {{#waiting}}<article class="{{mood}}">
        <p><b>{{state}}</b> · {{what}}</p>
        {{#reason}}<p class="reason">{{reason}}</p>{{/reason}}
        <p><code>billingd explain {{subscription}}</code> <a href="/explain/{{subscription}}">{{explainWord}}</a></p>
        </article>
        {{/waiting}}
        {{#waitingMore}}<p class="quiet">{{waitingMore}}</p>{{/waitingMore}}
        </section>
        </main>
        <footer class="quiet">{{footer}}</footer>
        </body>
        </html>

        """

    static let style = """
        :root {
          --paper: #fff; --ink: #1c2126; --quiet: #5b6670; --line: #d9dfe4; --soft: #f3f5f7;
          --good: #1f7a4d; --bad: #b3261e; --warn: #8a5a00; --bar: #2f6fb0; --bar2: #c7702e;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --paper: #14181c; --ink: #e6eaee; --quiet: #9aa7b2; --line: #313a42; --soft: #1d2329;
            --good: #5ec896; --bad: #ff8a80; --warn: #f0b754; --bar: #6aa9e9; --bar2: #e79a5f;
          }
        }
        * { box-sizing: border-box; }
        body {
          margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--paper);
          color: var(--ink); line-height: 1.5; overflow-wrap: anywhere;
          font-family: system-ui, "Noto Sans KR", "Noto Sans CJK KR", sans-serif;
        }
        h1 { font-size: 1.3rem; margin: 0; }
        h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
        p { margin: .2rem 0; }
        section { margin: 1.6rem 0; }
        a { color: inherit; }
        .quiet, footer { color: var(--quiet); font-size: .9rem; }
        .summary { font-size: 1.1rem; }
        .state { font-weight: 600; }
        .good { color: var(--good); }
        .bad, .trouble { color: var(--bad); }
        .warn { color: var(--warn); }
        .tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem; }
        .tile { background: var(--soft); border-radius: .5rem; padding: .6rem .8rem; }
        .tile b { display: block; font-size: 1.15rem; overflow-wrap: normal; font-variant-numeric: tabular-nums; }
        .tile span { color: var(--quiet); font-size: .85rem; }
        .chart { width: 100%; height: auto; display: block; overflow: visible; }
        .axis { stroke: var(--line); }
        .scale, .label { fill: var(--quiet); font-size: 13px; }
        .label { text-anchor: middle; }
        @media (max-width: 40rem) { .scale, .label { font-size: 20px; } }
        .hit { fill: transparent; }
        .one { fill: var(--bar); background: var(--bar); }
        .two { fill: var(--bar2); background: var(--bar2); }
        .three { fill: var(--quiet); background: var(--quiet); }
        .key { font-size: .85rem; color: var(--quiet); margin-right: .8rem; }
        .key i { display: inline-block; width: .7rem; height: .7rem; margin-right: .3rem; border-radius: .15rem; }
        details { margin-top: .4rem; font-size: .9rem; }
        summary { color: var(--quiet); cursor: pointer; }
        table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
        th { overflow-wrap: normal; }
        td + td { white-space: nowrap; }
        th, td { text-align: right; padding: .15rem .5rem; border-bottom: 1px solid var(--line); }
        th:first-child, td:first-child { text-align: left; }
        article { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .8rem; margin: .5rem 0; }
        article.bad { color: inherit; border-color: var(--bad); }
        .reason { color: var(--quiet); font-size: .9rem; }
        code { background: var(--soft); border-radius: .3rem; padding: .1rem .4rem; user-select: all; }

        """
}
